"""What the tests are built with: a real daemon in a directory of its own, a bare wire, and the one wait loop."""
