"""The hall: from a caller's bytes to an answer, through a plan, a walk over its targets, and one settlement."""
