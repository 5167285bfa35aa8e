//! Proportions, preferences and refusals of both ways of balancing.
