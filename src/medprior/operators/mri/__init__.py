"""What MRI scanners do: Fourier transforms, coils, sampling masks, trajectories."""
