"Public files, fetched and turned into tables."
