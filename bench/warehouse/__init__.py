"""What exactness costs a dashboard: each query on the views, and on plain MergeTree tables with the same rows once."""
