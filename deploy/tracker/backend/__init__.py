"""An issue tracker's backend: FastAPI and SQLAlchemy in front of PostgreSQL."""
