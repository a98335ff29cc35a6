"""Ground floor: cards, preprocessing, engines, decoders, pipelines. Never torch or tensorflow."""
