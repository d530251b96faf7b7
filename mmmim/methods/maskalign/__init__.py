"""MaskAlign (arXiv 2211.08887): the method, its students, its teacher, their alignment. Start at
`maskalign.py`."""

from mmmim.methods.maskalign.alignment import DynamicAlignment
from mmmim.methods.maskalign.hooks import AlignmentHook, TeacherHook
from mmmim.methods.maskalign.maskalign import MaskAlign
from mmmim.methods.maskalign.teacher import Teacher, TeacherStates
from mmmim.methods.maskalign.teachers import TEACHERS, set_teacher

__all__ = [
    "TEACHERS",
    "AlignmentHook",
    "DynamicAlignment",
    "MaskAlign",
    "Teacher",
    "TeacherHook",
    "TeacherStates",
    "set_teacher",
]
