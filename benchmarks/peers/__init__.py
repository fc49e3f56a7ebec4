# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""Ways to move bytes: each module has one kind, and knows nothing of the others."""
