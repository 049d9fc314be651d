"""The terminal dashboard: a client process that reads what the daemon publishes.

`state` folds messages, `picture` and `panels` turn the state into cells and lines (all plain synchronous code,
no Textual), `widgets` put those on the screen, `link` holds the sockets, `app.run` starts it all.
"""
