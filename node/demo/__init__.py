"""The demonstration: synthetic studies through a real PACS, the node, and back into the viewer."""
