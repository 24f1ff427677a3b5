# filled in with the install target
