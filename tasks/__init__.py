"""The jobs of this site, their forms and their pages. Copy from here: this is how a site uses `progress`."""
