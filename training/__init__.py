"""Train `tiny`, the small SAM that comes with the repository.

``python -m training --pack dsb_train_pack.npz --out sam_tiny.pth``

The loss follows Kirillov et al. 2023, "Segment Anything", section 3 and appendix A: it is the mask
loss of the best of three masks plus the squared error of each predicted IoU. The mask loss is dice
plus cross-entropy, because their focal loss leaves the logits too flat for the stability score. Two
terms are added: prompts on the background must be rated 0, and a dense head, dropped after
training, makes the encoder predict foreground, depth and centre of each object.

To segment an object the model needs only its surroundings. So the first steps use crops of 16 × 16
patches and the next steps half as many of 32 × 32, placed anywhere in the model's 64 × 64 (the
position embeddings are sliced to match). This costs a sixteenth and a quarter of a whole frame. The
last steps use whole frames, padded as SAM pads them.
"""
