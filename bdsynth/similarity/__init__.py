"""How alike two motions are: aligned in time, pose by pose, and in the codes of body parts."""
