"""Training of `tiny`, the small SAM that comes with the repository.

``python -m training --pack dsb_train_pack.npz --out sam_tiny.pth``

What is minimised follows Kirillov et al. 2023, "Segment Anything", section 3 and appendix A: the
loss of the best of three masks and the squared error of each mask's predicted IoU. The mask loss
is dice and cross-entropy; their focal loss leaves logits too flat for the stability score. Ours on
top: prompts on the background must be rated 0, and a dense head, dropped after training, has the
encoder tell each object's foreground, depth and centre.

An object needs only its surroundings, so the first steps see crops of 16 × 16 patches and the next
half as many of 32 × 32, placed anywhere in the model's 64 × 64 (position embeddings are sliced to
match), which costs a sixteenth and a quarter each. The last steps see whole frames, padded as SAM
pads them.
"""
