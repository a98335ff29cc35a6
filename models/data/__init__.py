"""Data sets: as people have them (COCO, WIDER FACE, DEAM), and synthetic ones. No torch here."""
