"""People: body models as data, the camera that sees one, the mesh drawn into pixels, and what a clip says of it.

Axes everywhere: x to the right, y down, z forward (those of the camera), metres. The pelvis is joint 0.
Legend: B batch, V vertices, F faces, J joints, S shape coefficients, P parts, T frames, H W pixels.
"""
