"""From a request to a row that can be queried: the whole of Sluice, and the bare way beside it."""
