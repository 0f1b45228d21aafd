"""Mathematics on heatmaps and limb fields: drawing, peaks and their refinement."""
