"""A live page about runs: reads their folders, and serves charts to a browser.

Start with `run_view.py`: a `RunView` reads one folder and returns what the page shows of it.
`row_file.py` reads long files by evenly spaced rows, `table.py` puts them into bins of equal time,
`server.py` streams changes to the browser, and `static/` holds the page.
"""
