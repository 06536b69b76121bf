"""Studies: scenarios whose results are committed, and the pages that are made of these."""
