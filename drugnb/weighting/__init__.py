"The main study: which L1000 signatures should count for how much."
