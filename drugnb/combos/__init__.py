"Drugs and pairs of drugs: which reverse a signature, and what a pair does."
