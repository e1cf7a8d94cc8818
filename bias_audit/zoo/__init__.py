"""Many backbones audited again and again: only what changed, with a memory of all audits."""
