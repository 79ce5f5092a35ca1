"""What the dashboard tells, read from rows and put into words; nothing here writes.

running    the jobs that are active: how fast they are, how long they will take, why they wait
calls      what was spent and what will be, of the quota
health     which parts are online, and when each was last seen
troubles   problems, and what to do about them
"""
