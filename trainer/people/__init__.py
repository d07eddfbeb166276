"""What is learned of people: their samples, bodies in torch, losses, and how a model of them is validated and asked.

Axes: x right, y down, z forward (those of the camera), metres. The pelvis is joint 0.
Legend: B batch, V vertices, J joints, S shape coefficients, H W pixels, C channels, K tokens.
"""
