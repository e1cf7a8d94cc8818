"""Shapes of results (until all imports name their modules)."""

from bias_audit.results.finding import *  # noqa: F403
from bias_audit.shapes.attribution_maps import *  # noqa: F403
from bias_audit.shapes.confusions import *  # noqa: F403
from bias_audit.shapes.difference_map import *  # noqa: F403
from bias_audit.shapes.group_ledger import *  # noqa: F403
from bias_audit.shapes.group_matrix import *  # noqa: F403
from bias_audit.shapes.group_profiles import *  # noqa: F403
from bias_audit.shapes.group_table import *  # noqa: F403
from bias_audit.shapes.layer_curve import *  # noqa: F403
from bias_audit.shapes.layer_matrix import *  # noqa: F403
from bias_audit.shapes.measures import *  # noqa: F403
from bias_audit.shapes.robustness_curves import *  # noqa: F403
from bias_audit.shapes.shape import *  # noqa: F403
from bias_audit.shapes.test_families import *  # noqa: F403
from bias_audit.shapes.unit_map import *  # noqa: F403
