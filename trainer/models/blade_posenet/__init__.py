"""PoseNet, the second stage of BLADE: pose and shape of a person, given how far away the pelvis is.

After Wang et al., "BLADE: Single-view Body Mesh Estimation through Accurate Depth Estimation" (CVPR 2025), with one
large difference: theirs is a copy of AiOS (a detector with a deformable transformer) beside a frozen one, this is not
AiOS. Here 22 learned joint queries read DINOv2's tokens, or those of a small trunk. The hand-over of the depth is
BLADE's: detached, and through layers that begin at zero. Published figures are not to be expected. Own code.
"""
