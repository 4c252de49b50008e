"""Telling speakers apart without torch: where there is speech, what its voices are like, and whose they are."""
