"""From 2D to 3D: temporal convolutions, the anatomy-aware net, the spatio-temporal transformer."""
