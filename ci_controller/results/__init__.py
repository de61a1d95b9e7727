"""What a job says about itself: by files that its variables name, by lines of its log, and by what tools print.

`docs/results.md` describes all of it for users. What a job has written is data that anyone could have put there: it is
read within bounds, shown, and never acted on.
"""
