"""A day of releases on a real cluster, under load: `make demo`.

__main__    options, exit code
story       the steps, each with what must become true and by when
setup       cluster, images, operator, the application as it runs today
kubectl     commands, and watches that stamp what they see
report      what the load saw, as numbers; pure
view        the terminal
"""
