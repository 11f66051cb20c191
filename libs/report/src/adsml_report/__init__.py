"""One self-contained page about an account: what families have to say, as plain data, drawn as HTML and SVG."""
