"The small set of things that have one notion in the whole house."
