"""Pictures of what was trained: links, features, the course of a squeeze."""
