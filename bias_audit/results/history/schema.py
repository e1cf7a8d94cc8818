"""The tables of a history, and how an older file becomes one of today."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x62614869
"""SQLite's `application_id` of a history: "baHi"."""

_TABLES: Final = """
CREATE TABLE audits ( -- One row per finished audit: one entry of a zoo on one dataset, once.
  id INTEGER PRIMARY KEY,
  audit_sha256 TEXT NOT NULL UNIQUE, -- SHA-256 of the run folder's audit.json
  zoo TEXT NOT NULL, -- name of the zoo
  dataset TEXT NOT NULL, -- name of the dataset in the zoo
  entry TEXT NOT NULL, -- name of the entry in the zoo, mostly a backbone's
  name TEXT NOT NULL, -- name of the audit
  folder TEXT NOT NULL, -- run folder, relative to the folder of this file, with forward slashes
  is_pruned INTEGER NOT NULL DEFAULT 0, -- 1: the run folder was deleted; the numbers here stay
  started TEXT NOT NULL, -- ISO 8601, UTC
  seconds REAL NOT NULL, -- of the whole audit
  outcome TEXT NOT NULL, -- failed (in part), else the gravest verdict, else none
  config_sha256 TEXT NOT NULL, -- of everything in the config that can change a result
  manifest_sha256 TEXT NOT NULL, -- over the images used and their labels
  n_images INTEGER NOT NULL, -- analysed
  n_clusters INTEGER NOT NULL, -- independent units: images of one person count once
  seed INTEGER NOT NULL,
  code_version TEXT NOT NULL, -- of bias-audit
  packages TEXT NOT NULL, -- JSON object: version by package
  hardware TEXT NOT NULL -- JSON object
);

CREATE TABLE backbones ( -- One row per backbone of an audit.
  id INTEGER PRIMARY KEY,
  audit_id INTEGER NOT NULL REFERENCES audits(id) ON DELETE CASCADE,
  position INTEGER NOT NULL, -- in the audit, from 0; report.html#backbone-POSITION
  name TEXT NOT NULL,
  architecture TEXT NOT NULL,
  weights TEXT NOT NULL, -- tag, file or package that the weights came from
  weights_sha256 TEXT NOT NULL, -- over names, shapes and bytes of the state dict
  preprocessing TEXT NOT NULL, -- JSON object
  n_parameters INTEGER NOT NULL,
  n_layers INTEGER NOT NULL, -- audited
  UNIQUE (audit_id, position)
);

CREATE TABLE analyses ( -- One row per analysis of a backbone, failed ones included.
  backbone_id INTEGER NOT NULL REFERENCES backbones(id) ON DELETE CASCADE,
  position INTEGER NOT NULL, -- in the audit, from 0
  kind TEXT NOT NULL,
  title TEXT NOT NULL,
  status TEXT NOT NULL, -- done or failed
  error TEXT, -- why it failed
  seconds REAL NOT NULL,
  PRIMARY KEY (backbone_id, position)
) WITHOUT ROWID;

CREATE TABLE estimates ( -- One row per number: of a layer and target, or of a group.
  backbone_id INTEGER NOT NULL REFERENCES backbones(id) ON DELETE CASCADE,
  position INTEGER NOT NULL, -- in the audit, from 0
  quantity TEXT NOT NULL, -- macro_auc, balanced_accuracy, bits, recall, ...
  metric TEXT NOT NULL, -- the quantity's name in words
  target TEXT NOT NULL, -- an attribute, or intersection
  layer TEXT NOT NULL,
  depth INTEGER NOT NULL, -- place of the layer among those audited, from 0; -1: none of them
  group_name TEXT, -- levels joined by " / "; NULL where the number is about all groups
  group_attributes TEXT, -- their attributes, joined in the same way
  value REAL, -- NULL: not measured
  lower REAL, -- ends of the interval
  upper REAL,
  level REAL, -- coverage of the interval, such as 0.95
  n INTEGER, -- independent units behind the value
  scale TEXT, -- on which the interval is symmetric: identity, logit or wilson
  effective REAL, -- observations that a Wilson interval counts, where fewer than n
  chance REAL, -- what guessing gives
  strongest TEXT, -- the control that the lift is over, or guessing
  control REAL, -- value of that control
  lift REAL, -- value minus that control, or guessing; paired
  lift_lower REAL,
  lift_upper REAL,
  p_value REAL, -- unadjusted
  adjusted_p REAL, -- adjusted in the audit
  reason TEXT, -- why it was not measured
  PRIMARY KEY (backbone_id, position)
) WITHOUT ROWID;

CREATE TABLE verdicts ( -- One row per criterion and backbone.
  backbone_id INTEGER NOT NULL REFERENCES backbones(id) ON DELETE CASCADE,
  position INTEGER NOT NULL, -- among the audit's verdicts, from 1; report.html#verdict-POSITION
  criterion TEXT NOT NULL, -- name
  quantity TEXT NOT NULL,
  of_what TEXT NOT NULL, -- estimate or lift
  target TEXT NOT NULL,
  layers TEXT NOT NULL, -- asked for: every, best, last, or a layer
  lowest REAL, -- ends of the margin; NULL: no bound
  highest REAL,
  rationale TEXT NOT NULL, -- why this margin
  outcome TEXT NOT NULL, -- PASS, FAIL or INCONCLUSIVE
  reason TEXT NOT NULL,
  layer TEXT, -- of the number that decides
  group_name TEXT,
  value REAL,
  lower REAL,
  upper REAL,
  level REAL,
  n INTEGER,
  PRIMARY KEY (backbone_id, position)
) WITHOUT ROWID;

CREATE TABLE costs ( -- One row per stage of an audit.
  audit_id INTEGER NOT NULL REFERENCES audits(id) ON DELETE CASCADE,
  position INTEGER NOT NULL, -- in the order of work, from 0
  backbone_id INTEGER REFERENCES backbones(id) ON DELETE CASCADE, -- NULL: of all
  stage TEXT NOT NULL, -- such as forward pass, or the kind of an analysis
  seconds REAL NOT NULL,
  images INTEGER, -- that passed through; NULL where the stage is not about images
  bytes INTEGER, -- on disk because of it; NULL where not counted
  is_reused INTEGER NOT NULL, -- 1: what an earlier audit had stored was used instead of work
  PRIMARY KEY (audit_id, position)
) WITHOUT ROWID;

CREATE TABLE fingerprints ( -- What an audit rested on; it is stale when one of them changes.
  audit_id INTEGER NOT NULL REFERENCES audits(id) ON DELETE CASCADE,
  kind TEXT NOT NULL, -- weights, preprocessing, images, labels, config, code, ...
  value TEXT NOT NULL,
  PRIMARY KEY (audit_id, kind)
) WITHOUT ROWID;

CREATE TABLE diffs ( -- One row per comparison of an audit with an earlier one.
  id INTEGER PRIMARY KEY,
  before_id INTEGER NOT NULL REFERENCES audits(id) ON DELETE CASCADE,
  after_id INTEGER NOT NULL REFERENCES audits(id) ON DELETE CASCADE,
  UNIQUE (before_id, after_id)
);

CREATE TABLE causes ( -- What differs between the two audits of a diff, besides their numbers.
  diff_id INTEGER NOT NULL REFERENCES diffs(id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  kind TEXT NOT NULL, -- weights, data, config, software, preprocessing or hardware
  part TEXT, -- images or labels of data, a section of a config; else NULL
  detail TEXT NOT NULL,
  backbone TEXT, -- that it is about; NULL: all
  is_minor INTEGER NOT NULL, -- 1: moves numbers by rounding or refitting alone
  PRIMARY KEY (diff_id, position)
) WITHOUT ROWID;

CREATE TABLE conclusions ( -- Where the changes of each backbone of a diff probably come from.
  diff_id INTEGER NOT NULL REFERENCES diffs(id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  backbone TEXT NOT NULL,
  text TEXT NOT NULL, -- in words
  PRIMARY KEY (diff_id, position)
) WITHOUT ROWID;

CREATE TABLE changes ( -- One row per number that a diff compares.
  diff_id INTEGER NOT NULL REFERENCES diffs(id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  backbone TEXT NOT NULL,
  quantity TEXT NOT NULL,
  target TEXT NOT NULL,
  layer TEXT NOT NULL,
  group_name TEXT, -- NULL where the number is about all groups
  of_what TEXT NOT NULL, -- estimate or lift
  outcome TEXT NOT NULL, -- improved, worse, higher, lower, equivalent or undecided
  better TEXT, -- higher or lower; NULL where nobody declared which way is better
  margin REAL NOT NULL, -- differences within it are equivalent
  before_value REAL NOT NULL,
  before_lower REAL NOT NULL,
  before_upper REAL NOT NULL,
  after_value REAL NOT NULL,
  after_lower REAL NOT NULL,
  after_upper REAL NOT NULL,
  difference REAL NOT NULL, -- after minus before
  difference_lower REAL NOT NULL,
  difference_upper REAL NOT NULL,
  level REAL NOT NULL, -- coverage of the difference's interval
  noise REAL, -- standard deviation when nothing but seeds and folds changes; NULL: not measured
  p_value REAL,
  adjusted_p REAL, -- over all numbers compared
  is_paired INTEGER NOT NULL, -- 1: over shared images
  PRIMARY KEY (diff_id, position)
) WITHOUT ROWID;

CREATE TABLE runs ( -- One row per run of a zoo.
  id INTEGER PRIMARY KEY,
  zoo TEXT NOT NULL,
  started TEXT NOT NULL, -- ISO 8601, UTC
  seconds REAL NOT NULL,
  command TEXT NOT NULL
);

CREATE TABLE states ( -- What a run of a zoo did about each entry on each dataset.
  run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  dataset TEXT NOT NULL,
  entry TEXT NOT NULL,
  state TEXT NOT NULL, -- audited, unchanged, failed or stale (and not audited again)
  reason TEXT NOT NULL, -- why; may be empty
  audit_id INTEGER REFERENCES audits(id) ON DELETE SET NULL, -- that holds now; NULL: there is none
  PRIMARY KEY (run_id, dataset, entry)
) WITHOUT ROWID;

CREATE INDEX audits_in_order ON audits(zoo, dataset, entry, started);
"""

_VIEWS: Final = """
CREATE VIEW latest_audits AS -- The latest audit of every entry on every dataset.
SELECT * FROM (
  SELECT audits.*, ROW_NUMBER() OVER (
    PARTITION BY zoo, dataset, entry ORDER BY started DESC, id DESC) AS place
  FROM audits)
WHERE place = 1;

CREATE VIEW verdict_matrix AS -- Verdicts of the latest audits, one row per backbone and criterion.
SELECT a.zoo, a.dataset, a.entry, b.name AS backbone, v.criterion, v.outcome, v.value, v.lower,
  v.upper, v.level, v.n, v.layer, v.group_name, v.reason, a.started, a.folder
FROM latest_audits a JOIN backbones b ON b.audit_id = a.id JOIN verdicts v ON v.backbone_id = b.id
ORDER BY a.zoo, a.dataset, a.entry, b.position, v.position;

CREATE VIEW verdict_changes AS -- Verdicts that differ from those of the audit before.
SELECT * FROM (
  SELECT a.id AS audit_id, a.zoo, a.dataset, a.entry, a.started, b.name AS backbone, v.criterion,
    v.position, LAG(v.outcome) OVER in_time AS before, v.outcome AS after
  FROM audits a JOIN backbones b ON b.audit_id = a.id JOIN verdicts v ON v.backbone_id = b.id
  WINDOW in_time AS (
    PARTITION BY a.zoo, a.dataset, a.entry, b.name, v.criterion ORDER BY a.started, a.id))
WHERE before <> after;

CREATE VIEW peaks AS -- Every layer curve at its highest value and at its last layer, per audit.
SELECT * FROM (
  SELECT a.zoo, a.dataset, a.entry, a.id AS audit_id, a.started, b.id AS backbone_id,
    b.name AS backbone, e.quantity, e.metric, e.target, e.layer, e.depth, e.value, e.lower,
    e.upper, e.level, e.n, e.scale, e.effective, e.chance, e.strongest, e.control, e.lift,
    e.lift_lower, e.lift_upper, e.position, COUNT(*) OVER curve AS n_layers,
    ROW_NUMBER() OVER (PARTITION BY b.id, e.quantity, e.target
      ORDER BY e.value DESC, e.position) = 1 AS is_highest,
    ROW_NUMBER() OVER (PARTITION BY b.id, e.quantity, e.target
      ORDER BY e.position DESC) = 1 AS is_last
  FROM estimates e JOIN backbones b ON b.id = e.backbone_id JOIN audits a ON a.id = b.audit_id
  WHERE e.group_name IS NULL AND e.value IS NOT NULL
  WINDOW curve AS (PARTITION BY b.id, e.quantity, e.target))
WHERE is_highest OR is_last;

CREATE VIEW trend AS -- The highest value over the layers of every quantity, audit by audit.
SELECT zoo, dataset, entry, backbone, quantity, target, started, value, lower, upper, level, n,
  layer, lift, lift_lower, lift_upper
FROM peaks WHERE is_highest
ORDER BY zoo, dataset, entry, backbone, quantity, target, started;
"""

MIGRATIONS: Final = (_TABLES + _VIEWS,)
"""Scripts that lead from each schema version to the next; the first from an empty file."""
VERSION: Final = len(MIGRATIONS)
"""SQLite's `user_version` of a history of today."""
