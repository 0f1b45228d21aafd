"""What flows between the parts: skeletons, poses, samples, boxes and matrices. Importing it needs NumPy alone."""
