"""samfleet: Segment Anything over a whole image collection, on every GPU at hand."""
