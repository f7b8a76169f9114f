"""Real tools judge rendered files: `oracle.check_tree(files)` returns their complaints, or [].

`files` are one node's, by absolute path on the node. The tools run in the lab's root file system; a
verdict on the same bytes is asked for once in a session.
"""
