# %% [markdown]
# # Augment a training loop
#
# `Augmented` wraps any data set of (image, mask) pairs. It knows what is legal for a modality: it
# rotates and bends an MR scan, adds Rician noise and bias fields, and refuses what would change the
# meaning of the values. The example makes up its scans.
#
#     python examples/augment_training_loop.py [EPOCHS]

# %%
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

import medprior as mp

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 2
rng = torch.Generator().manual_seed(0)


def made_up() -> tuple[torch.Tensor, torch.Tensor]:
    """An image (1, 48, 48) with one bright disc, and the disc as its mask (48, 48)."""
    place, radius = 12 + 24 * torch.rand(2, generator=rng), 4 + 4 * torch.rand(1, generator=rng)
    i, j = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    disc = (i - place[0]) ** 2 + (j - place[1]) ** 2 < radius**2
    image = 0.3 + 0.5 * disc + 0.05 * torch.randn(48, 48, generator=rng)
    return image[None].float(), disc.long()


scans = [made_up() for _ in range(24)]

# %% [markdown]
# The policy is a table that can be printed, changed and stored. Epoch and index decide each draw, so a
# run can be repeated with any number of workers.

# %%
policy = mp.Policy.of("MR")
augmented = mp.Augmented(scans, policy, seed=0)
print("allowed:", ", ".join(policy.allowed))

network = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)
)
optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
for epoch in range(epochs):
    augmented.set_epoch(epoch)
    total = 0.0
    for image, mask in DataLoader(augmented, batch_size=8):
        loss = nn.functional.cross_entropy(network(image), mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
    print(f"epoch {epoch}: loss {total / 3:.3f}")
