"""DepthNet, the first stage of BLADE: how far away a person's pelvis is, from one picture.

After Wang et al., "BLADE: Single-view Body Mesh Estimation through Accurate Depth Estimation" (CVPR 2025); own code.
"""
