"""INSID3 (arXiv 2603.28480): one frozen DINOv3 finds and cuts out, without SAM."""
