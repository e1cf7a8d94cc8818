"""Where the audits of a zoo are made, one module each."""
