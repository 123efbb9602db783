from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from .models import Task
from .tasks import export


def home(request):
    return render(request, "home.html", {"tasks": Task.objects.all()[:20]})


def app(request):
    return render(request, "app.html")


@login_required
@require_POST
def start(request):
    run = export.delay("invoices", rows=int(request.POST.get("rows", 20)), pause=float(request.POST.get("pause", 0)))
    return redirect("export", task_id=run.id)


def export_page(request, task_id):
    return render(request, "export.html", {"task_id": str(task_id)})
