"""Virtual environments for engines whose packages cannot live beside others: made by recipe, listed, removed."""
