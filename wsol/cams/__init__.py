"""Score maps from classifiers: (model, images, class ids) -> raw maps [N, h, w] on the model's device."""
