"""Vista, a driving world model: it goes on with a video from its first frames, as an action says.

After Gao et al., "Vista: A Generalizable Driving World Model with High Fidelity and Versatile Controllability" (NeurIPS
2024), and Stable Video Diffusion, whose weights it begins with; own code, its network on diffusers' classes.
"""
