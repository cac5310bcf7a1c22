"""Tables as streams of frames: read in blocks of whole rows, summed up, written; memory does not grow with them."""
