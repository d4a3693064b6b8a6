"""The dashboard: pages for people, over the same API that programs use."""
