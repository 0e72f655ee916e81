"""The judge: takes score maps, whoever made them, and says how well they localize the object."""
