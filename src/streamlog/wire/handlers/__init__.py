"""One module an API, or a few that belong together: ``handle(call)`` returns the response.

What is wrong with one topic or partition goes into its error code; an exception closes the connection.
"""
