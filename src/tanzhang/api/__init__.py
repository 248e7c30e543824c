"""What others reach over HTTP: routes, checks of form, errors turned into answers."""
