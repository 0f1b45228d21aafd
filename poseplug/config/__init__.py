"""Configs: from a file with its bases to checked settings, and from settings to built parts."""
