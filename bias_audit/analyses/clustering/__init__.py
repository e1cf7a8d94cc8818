"""Clusters of groups: which groups a layer places together, and what they share."""
